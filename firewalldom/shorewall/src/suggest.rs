//! "Did you mean": the known word nearest to a mistyped one.

/// The nearest of `known`, when it is near enough to have been meant.
pub(crate) fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_ascii_lowercase();
    let letters = word.chars().count();
    let limit = match letters {
        0 | 1 => 0,
        2..=3 => 1,
        4..=7 => 2,
        8..=64 => 3,
        // Nobody mistypes a word that long; the table below grows with its square.
        _ => return None,
    };
    known
        .into_iter()
        // That many edits at least; most words are spared the table.
        .filter(|candidate| candidate.chars().count().abs_diff(letters) <= limit)
        .map(|candidate| (distance(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|&(distance, _)| distance <= limit)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// `nearest` as a note.
pub(crate) fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
) -> Option<String> {
    nearest(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// Edits between two words; two neighbours swapped count as one.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut table = vec![0; (left.len() + 1) * width];
    for row in 0..=left.len() {
        for column in 0..=right.len() {
            table[row * width + column] = if row == 0 {
                column
            } else if column == 0 {
                row
            } else {
                let same = usize::from(left[row - 1] != right[column - 1]);
                let mut best = (table[(row - 1) * width + column] + 1)
                    .min(table[row * width + column - 1] + 1)
                    .min(table[(row - 1) * width + column - 1] + same);
                if row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1]
                {
                    best = best.min(table[(row - 2) * width + column - 2] + 1);
                }
                best
            };
        }
    }
    table[left.len() * width + right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_fingers_finds_its_word() {
        let known = ["ACCEPT", "DROP", "REJECT"];
        assert_eq!(nearest("ACEPT", known), Some("ACCEPT"));
        assert_eq!(nearest("DORP", known), Some("DROP"));
        assert_eq!(nearest("rejct", known), Some("REJECT"));
        assert_eq!(nearest("TARPIT", known), None);
    }

    #[test]
    fn swapped_neighbours_are_one_edit() {
        assert_eq!(distance("loc", "lco"), 1);
        assert_eq!(distance("", "net"), 3);
    }
}
