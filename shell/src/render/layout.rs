//! Which columns a terminal has room for, and how wide each of them is.
//!
//! A line never reaches over the edge. Where there is no room for all, long texts are cut down to a width that still says
//! something, and beyond that whole columns are left out from the middle, as DuckDB's shell does: what is shown can be read.

/// A long text is cut to no less than a quarter of the terminal, within these bounds, before columns are left out.
const TEXT_MIN: usize = 8;
const TEXT_MAX: usize = 32;
/// Between two columns: ` │ `.
const BAR: usize = 3;

/// The columns shown, in their order, with the width of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub columns: Vec<(usize, usize)>,
    /// How many of them stand before the place where others are left out.
    pub gap: Option<usize>,
}

impl Layout {
    /// Lays out columns of these widths; `None` stands for a line of any length. Columns that are no text, such as numbers, are
    /// whole or left out: a cut number would be a wrong one.
    pub fn of(natural: &[usize], text: &[bool], available: Option<usize>) -> Layout {
        let all = |widths: &[usize]| widths.iter().copied().enumerate().collect::<Vec<_>>();
        let Some(available) = available.filter(|available| line(natural) > *available) else {
            return Layout { columns: all(natural), gap: None };
        };
        let floor = (available / 4).clamp(TEXT_MIN, TEXT_MAX);
        let least: Vec<usize> =
            natural.iter().zip(text).map(|(width, text)| if *text { floor.min(*width) } else { *width }).collect();
        let (kept, gap) = kept(&least, available);
        let room = available - if gap.is_some() { 1 + BAR } else { 0 };
        let mut widths: Vec<usize> = kept.iter().map(|index| natural[*index]).collect();
        let least: Vec<usize> =
            kept.iter().map(|index| if text[*index] { least[*index].min(room) } else { least[*index] }).collect();
        narrow(&mut widths, &least, room);
        Layout { columns: kept.into_iter().zip(widths).collect(), gap }
    }

    /// Columns that are left out.
    pub fn left_out(&self, count: usize) -> Vec<usize> {
        (0..count).filter(|index| self.columns.iter().all(|(shown, _)| shown != index)).collect()
    }
}

fn line(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + widths.len().saturating_sub(1) * BAR
}

/// The columns that fit at their least: all, or the first ones and the last, or the first alone.
fn kept(least: &[usize], available: usize) -> (Vec<usize>, Option<usize>) {
    if line(least) <= available || least.len() < 2 {
        return ((0..least.len()).collect(), None);
    }
    let last = least.len() - 1;
    let fits = |first: usize, with_last: bool| {
        let mut widths = least[..first].to_vec();
        widths.push(1);
        widths.extend(with_last.then_some(least[last]));
        line(&widths) <= available
    };
    if let Some(first) = (1..last).rev().find(|first| fits(*first, true)) {
        return ((0..first).chain([last]).collect(), Some(first));
    }
    // A first column that has no room beside the mark is shown alone.
    (vec![0], fits(1, false).then_some(1))
}

/// Narrows the widest columns until the line fits or all are at their least.
fn narrow(widths: &mut [usize], least: &[usize], available: usize) {
    for (width, least) in widths.iter_mut().zip(least) {
        *width = (*width).min(available.max(*least));
    }
    while line(widths) > available {
        let wide = (0..widths.len()).filter(|index| widths[*index] > least[*index]);
        let Some(widest) = wide.max_by_key(|index| widths[*index]) else { return };
        widths[widest] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns as `12` (of a number) or `12t` (of a text).
    fn check(columns: &str, available: usize, expected: &str) {
        let natural: Vec<usize> = columns.split(' ').map(|word| word.trim_end_matches('t').parse().unwrap()).collect();
        let text: Vec<bool> = columns.split(' ').map(|word| word.ends_with('t')).collect();
        let layout = Layout::of(&natural, &text, Some(available));
        let mut words: Vec<String> = layout.columns.iter().map(|(index, width)| format!("{index}:{width}")).collect();
        if let Some(gap) = layout.gap {
            words.insert(gap, "…".to_owned());
        }
        assert_eq!(words.join(" "), expected, "{columns} in {available}");
        let widths: Vec<usize> = layout.columns.iter().map(|(_, width)| *width).collect();
        let gap = if layout.gap.is_some() { 4 } else { 0 };
        assert!(line(&widths) + gap <= available || widths.len() == 1, "{columns} in {available}: {words:?}");
    }

    #[test]
    fn a_line_never_reaches_over_the_edge() {
        check("4 4", 80, "0:4 1:4");
        check("4t 100t", 80, "0:4 1:73");
        check("4t 100t 100t", 80, "0:4 1:35 2:35");
        check("60t 60t 60t 60t", 80, "0:24 1:23 … 3:23");
        check("8 8 8 8 8 8 8 8", 40, "0:8 1:8 … 7:8");
        check("20 20t 20", 40, "0:20 …");
        check("13 13", 10, "0:13");
        check("100t", 40, "0:40");
        check("100t 5", 10, "0:10");
    }

    #[test]
    fn what_fits_is_whole() {
        for available in [None, Some(20)] {
            let layout = Layout::of(&[10, 7], &[true, true], available);
            assert_eq!(layout, Layout { columns: vec![(0, 10), (1, 7)], gap: None });
        }
    }
}
