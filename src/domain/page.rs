//! Cursor, order, limit: one meaning for every list (decisions 5).

/// Which part of an ordered list is wanted. Cursors are relative to the requested order and strictly past the record
/// they name; the two agent-level message lists read them by age instead (`MessagePage`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Id> {
    pub after: Option<Id>,
    pub before: Option<Id>,
    /// Most items in the answer. The facade turns `limit=0` into the most that is allowed.
    pub limit: usize,
    pub order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

impl<Id: PartialEq> Page<Id> {
    /// Cuts the page out of items that already stand in the requested order. A cursor that names nothing is ignored.
    ///
    /// With `before` alone the page is the `limit` items directly before the cursor.
    pub fn cut<T>(&self, items: Vec<T>, id: impl Fn(&T) -> Id) -> Vec<T> {
        let place = |cursor: &Option<Id>| {
            cursor
                .as_ref()
                .and_then(|cursor| items.iter().position(|item| id(item) == *cursor))
        };
        let from = place(&self.after).map_or(0, |at| at + 1);
        let to = place(&self.before).unwrap_or(items.len()).max(from);
        let from_the_end = self.after.is_none() && self.before.is_some();
        let from = if from_the_end {
            to.saturating_sub(self.limit).max(from)
        } else {
            from
        };
        items
            .into_iter()
            .take(to)
            .skip(from)
            .take(self.limit)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(after: Option<u32>, before: Option<u32>, limit: usize) -> Vec<u32> {
        Page {
            after,
            before,
            limit,
            order: Order::Ascending,
        }
        .cut((1..=9).collect(), |item| *item)
    }

    #[test]
    fn cursors_are_strict_and_relative_to_the_order() {
        assert_eq!(page(None, None, 3), [1, 2, 3]);
        assert_eq!(page(Some(3), None, 3), [4, 5, 6]);
        assert_eq!(page(None, Some(7), 3), [4, 5, 6]);
        assert_eq!(page(Some(2), Some(5), 9), [3, 4]);
        assert_eq!(page(Some(9), None, 3), Vec::<u32>::new());
        assert_eq!(page(Some(42), None, 2), [1, 2]);
    }
}
