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

impl Order {
    pub fn reversed(self) -> Self {
        match self {
            Self::Ascending => Self::Descending,
            Self::Descending => Self::Ascending,
        }
    }
}

/// A stretch of an index, and the direction in which it is read. Its ends are not part of it; one that names nothing is
/// ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch<Id> {
    pub order: Order,
    /// Where the reading begins.
    pub past: Option<Id>,
    /// Where it stops.
    pub until: Option<Id>,
}

impl<Id> Stretch<Id> {
    pub fn all(order: Order) -> Self {
        Self::past(order, None)
    }

    pub fn past(order: Order, past: Option<Id>) -> Self {
        Self {
            order,
            past,
            until: None,
        }
    }

    /// The same stretch with its ends named otherwise.
    pub fn map<Other>(self, name: impl Fn(Id) -> Other) -> Stretch<Other> {
        Stretch {
            order: self.order,
            past: self.past.map(&name),
            until: self.until.map(&name),
        }
    }

    /// The same for names that may not be there.
    pub fn try_map<Other, E>(
        self,
        name: impl Fn(Id) -> Result<Option<Other>, E>,
    ) -> Result<Stretch<Other>, E> {
        let end = |end: Option<Id>| end.map_or(Ok(None), &name);
        Ok(Stretch {
            order: self.order,
            past: end(self.past)?,
            until: end(self.until)?,
        })
    }
}

impl<Id: Copy> Page<Id> {
    /// Whether the page is counted back from a cursor: read against its order and then turned round.
    fn is_counted_back(&self) -> bool {
        self.after.is_none() && self.before.is_some()
    }

    /// The page without cursors that name nothing.
    pub fn known<E>(self, names: impl Fn(Id) -> Result<bool, E>) -> Result<Self, E> {
        let cursor = |cursor: Option<Id>| match cursor {
            Some(id) if !names(id)? => Ok(None),
            cursor => Ok(cursor),
        };
        Ok(Self {
            after: cursor(self.after)?,
            before: cursor(self.before)?,
            ..self
        })
    }

    /// The stretch of an index that `take` reads; its cursors are `known`.
    pub fn stretch(&self) -> Stretch<Id> {
        if self.is_counted_back() {
            Stretch::past(self.order.reversed(), self.before)
        } else {
            Stretch {
                order: self.order,
                past: self.after,
                until: self.before,
            }
        }
    }

    /// The page of what `keep` keeps, out of the items of its `stretch`; reads no further than it must.
    pub fn take<T, E>(
        &self,
        items: impl Iterator<Item = Result<T, E>>,
        keep: impl Fn(&T) -> Result<bool, E>,
    ) -> Result<Vec<T>, E> {
        let kept = items.filter_map(|item| {
            let judged = item.and_then(|item| Ok(keep(&item)?.then_some(item)));
            judged.transpose()
        });
        let mut found: Vec<T> = kept.take(self.limit).collect::<Result<_, E>>()?;
        if self.is_counted_back() {
            found.reverse();
        }
        Ok(found)
    }
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
        let (after, before) = (place(&self.after), place(&self.before));
        let from = after.map_or(0, |at| at + 1);
        let to = before.unwrap_or(items.len()).max(from);
        let from = if after.is_none() && before.is_some() {
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

    /// What a page takes out of an index of 1 to 9, and how many entries it looks at.
    fn taken(after: Option<u32>, before: Option<u32>, limit: usize, order: Order) -> Vec<u32> {
        let page = Page {
            after,
            before,
            limit,
            order,
        };
        let stretch = page.stretch();
        let mut index: Vec<u32> = (1..=9).collect();
        if stretch.order == Order::Descending {
            index.reverse();
        }
        let place = |end| index.iter().position(|item| Some(*item) == end);
        let from = place(stretch.past).map_or(0, |at| at + 1);
        let to = place(stretch.until).unwrap_or(index.len());
        let looked = std::cell::Cell::new(0);
        let stretch = index.get(from..to).unwrap_or_default().iter();
        let items = stretch.map(|item| {
            looked.set(looked.get() + 1);
            Ok::<u32, ()>(*item)
        });
        let found = page.take(items, |_| Ok(true)).unwrap();
        assert!(looked.get() <= limit, "{} looks", looked.get());
        found
    }

    #[test]
    fn a_page_of_an_index_is_the_page_of_the_list_and_looks_at_no_more_than_it_shows() {
        for order in [Order::Ascending, Order::Descending] {
            let mut list: Vec<u32> = (1..=9).collect();
            if order == Order::Descending {
                list.reverse();
            }
            let cursors = || [None].into_iter().chain((1..=9).map(Some));
            for (after, before) in cursors().flat_map(|a| cursors().map(move |b| (a, b))) {
                let page = Page {
                    after,
                    before,
                    limit: 3,
                    order,
                };
                assert_eq!(
                    taken(after, before, 3, order),
                    page.cut(list.clone(), |item| *item),
                    "{page:?}"
                );
            }
        }
    }

    #[test]
    fn cursors_are_strict_and_relative_to_the_order() {
        assert_eq!(page(None, None, 3), [1, 2, 3]);
        assert_eq!(page(Some(3), None, 3), [4, 5, 6]);
        assert_eq!(page(None, Some(7), 3), [4, 5, 6]);
        assert_eq!(page(Some(2), Some(5), 9), [3, 4]);
        assert_eq!(page(Some(9), None, 3), Vec::<u32>::new());
        assert_eq!(page(Some(42), None, 2), [1, 2]);
        assert_eq!(page(None, Some(42), 2), [1, 2]);
        assert_eq!(page(Some(42), Some(7), 2), [5, 6]);
    }
}
