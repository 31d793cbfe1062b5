//! Short forms for people: lengths of time, columns.

use serde_json::Value;

/// `850 ms`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: the two largest units.
pub(super) fn duration(ms: u64) -> String {
    let (s, min, h, d) = (ms / 1000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match () {
        () if s == 0 => format!("{ms} ms"),
        () if min == 0 => format!("{s} s"),
        () if h == 0 => format!("{min} min {} s", s % 60),
        () if d == 0 => format!("{h} h {} min", min % 60),
        () => format!("{d} d {} h", h % 24),
    }
}

/// How long ago a time from the API was.
pub(super) fn ago(time: &str) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => {
            let ms = jiff::Timestamp::now().duration_since(time).as_millis();
            format!("{} ago", duration(u64::try_from(ms).unwrap_or(0)))
        }
        Err(_) => time.to_owned(),
    }
}

/// A text member of a JSON object; `-` where there is none.
pub(super) fn member<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or("-")
}

/// A number member of a JSON object; 0 where there is none.
pub(super) fn number(object: &Value, name: &str) -> u64 {
    object[name].as_u64().unwrap_or(0)
}

/// Rows as columns, two spaces apart.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut lines = String::new();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        lines.push_str(cells.join("  ").trim_end());
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_shows_its_two_largest_units() {
        let shown = [850, 12_000, 200_000, 7_500_000, 273_600_000].map(duration);
        assert_eq!(
            shown,
            ["850 ms", "12 s", "3 min 20 s", "2 h 5 min", "3 d 4 h"]
        );
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a", "bbb", ""], ["ccc", "ü", "d"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a    bbb\nccc  ü    d\n");
    }
}
