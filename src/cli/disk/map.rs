//! A picture of a disk's allocation for people: cells of characters.

/// Characters of a line.
const WIDTH: usize = 64;

/// From nothing allocated to everything.
const SHADES: [char; 6] = ['.', '-', '=', '+', '*', '#'];

/// The fractions (0 to 1) of a disk's cells as lines of characters, with what they mean.
pub(super) fn picture(cells: &[f64], bytes_of_cell: u64) -> String {
    let mut text = String::new();
    for line in cells.chunks(WIDTH) {
        text.push_str("  ");
        text.extend(line.iter().map(|fraction| shade(*fraction)));
        text.push('\n');
    }
    let size = crate::config::Size::from_bytes(bytes_of_cell);
    text + &format!("  each character is {size}: `.` empty, `-` `=` `+` `*` up to 20, 40, 60, 99 %, `#` full\n")
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction times four")]
fn shade(fraction: f64) -> char {
    match fraction {
        fraction if fraction <= 0.0 => SHADES[0],
        fraction if fraction >= 0.99 => SHADES[5],
        fraction => SHADES[1 + ((fraction * 5.0) as usize).min(3)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_drawn_by_how_full_they_are() {
        assert_eq!([0.0, 0.001, 0.25, 0.5, 0.98, 0.99, 1.0].map(shade), ['.', '-', '=', '+', '*', '#', '#']);
        let picture = picture(&[1.0; 65], 1 << 30);
        let lines: Vec<_> = picture.lines().collect();
        assert_eq!((lines[0].len(), lines[1]), (66, "  #"));
        assert!(lines[2].contains("each character is 1G"));
    }
}
