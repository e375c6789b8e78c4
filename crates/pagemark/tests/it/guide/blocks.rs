//! Commands and what they print, out of a Markdown text; and whether something printed is what was shown.
//!
//! Deliberately not here: running them.

/// A command and what it is shown to print.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Where it is in the text, counted from 1.
    pub line: usize,
    pub command: String,
    pub shown: Vec<String>,
    /// It is a terminal of its own.
    pub goes_on: bool,
    /// Its numbers differ from run to run.
    pub varies: bool,
}

/// All commands, in order. A command may go on over several lines with a backslash at their ends.
pub fn sessions(text: &str) -> Vec<Session> {
    let mut sessions: Vec<Session> = Vec::new();
    let mut block: Option<&str> = None;
    let mut is_command_open = false;
    for (line, number) in text.lines().zip(1..) {
        if let Some(info) = line.strip_prefix("```") {
            block = if block.is_some() { None } else { Some(info) };
            continue;
        }
        let Some(info) = block.filter(|info| info.split(' ').next() == Some("console")) else { continue };
        match (line.strip_prefix("$ "), sessions.last_mut()) {
            (Some(command), _) => {
                let (goes_on, varies) = (info == "console broker", info == "console varying");
                let (command, shown) = (command.to_owned(), Vec::new());
                is_command_open = command.ends_with('\\');
                sessions.push(Session { line: number, command, shown, goes_on, varies });
            }
            (None, Some(session)) if is_command_open => {
                session.command.push('\n');
                session.command.push_str(line);
                is_command_open = line.ends_with('\\');
            }
            (None, Some(session)) => session.shown.push(line.to_owned()),
            (None, None) => panic!("line {number}: a console block begins with a command"),
        }
    }
    sessions
}

/// The first line that is not as shown, in words; none if all are.
pub fn differs(session: &Session, said: &str) -> Option<String> {
    if session.varies {
        let shown: Vec<String> = session.shown.iter().map(|line| without_numbers(line)).collect();
        return differing(&shown, &said.lines().map(|line| without_numbers(line) + "\n").collect::<String>());
    }
    differing(&session.shown, said)
}

/// Each number as one 0, with columns closed up.
fn without_numbers(line: &str) -> String {
    let word =
        |word: &str| if word.bytes().all(|byte| byte.is_ascii_digit()) { "0".to_owned() } else { word.to_owned() };
    line.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

fn differing(shown: &[String], said: &str) -> Option<String> {
    let said: Vec<&str> = said.lines().collect();
    let mut at = 0;
    let mut may_skip = false;
    for line in shown {
        if line == "..." {
            may_skip = true;
            continue;
        }
        let found = said.iter().skip(at).position(|said| is_as_shown(line, said));
        match found {
            Some(skipped) if skipped == 0 || may_skip => at += skipped + 1,
            _ if may_skip => return Some(format!("nothing is as shown: {line}")),
            _ => return Some(format!("shown:   {line}\nprinted: {}", said.get(at).unwrap_or(&"(no more)"))),
        }
        may_skip = false;
    }
    (at < said.len() && !may_skip).then(|| format!("more is printed than shown: {}", said[at]))
}

/// Compares a line. One with `<words>` has columns that depend on what stands there, so that only words count.
fn is_as_shown(shown: &str, said: &str) -> bool {
    let pieces = pieces(shown);
    if pieces.len() == 1 {
        return shown.trim_end() == said.trim_end();
    }
    let plain = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = plain(said);
    let mut rest = said.as_str();
    for (index, piece) in pieces.iter().map(|piece| plain(piece)).enumerate() {
        let is_last = index + 1 == pieces.len();
        let at = match index {
            0 => rest.starts_with(&piece).then_some(0),
            _ if is_last => rest.ends_with(&piece).then(|| rest.len() - piece.len()),
            _ => rest.find(&piece),
        };
        match at {
            Some(at) if index == 0 || at > 0 => rest = &rest[at + piece.len()..],
            _ => return false,
        }
    }
    true
}

/// What stands between the `<words>` of a line.
fn pieces(line: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = line;
    loop {
        let open = rest.find('<').and_then(|open| Some((open, open + rest[open..].find('>')?)));
        match open.filter(|(open, close)| rest[open + 1..*close].chars().all(|c| c.is_ascii_lowercase() || c == '-')) {
            Some((open, close)) if close > open + 1 => {
                pieces.push(&rest[..open]);
                rest = &rest[close + 1..];
            }
            _ => {
                pieces.push(rest);
                return pieces;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_and_what_they_print_are_found_in_console_blocks_alone() {
        let text = "Text\n```console\n$ a \\\n  b\nout\n$ c\n```\n```sh\n$ not\n```\n```console broker\n$ d\nup\n```\n";
        let found = sessions(text);
        let brief: Vec<_> = found.iter().map(|s| (s.line, s.command.as_str(), s.shown.len(), s.goes_on)).collect();
        assert!(found.iter().all(|session| !session.varies));
        assert_eq!(brief, [(3, "a \\\n  b", 1, false), (6, "c", 0, false), (12, "d", 1, true)]);
    }

    #[test]
    fn what_is_printed_must_be_what_is_shown() {
        assert_eq!(differing(&lines("a\nb"), "a\nb\n"), None);
        for (shown, said) in [("a", "b"), ("a\nb", "a"), ("a", "a\nb"), ("", "a"), ("a  b", "a b")] {
            assert!(differing(&lines(shown), said).is_some(), "{shown:?} {said:?}");
        }
    }

    #[test]
    fn numbers_may_differ_where_a_block_says_so() {
        let text = "```console varying\n$ a\ntopic  0  12  x1\n```\n";
        let session = &sessions(text)[0];
        assert_eq!(differs(session, "topic  7  3   x1\n"), None);
        assert!(differs(session, "topic  7  3   x2\n").is_some());
    }

    #[test]
    fn dots_stand_for_lines_and_words_in_angles_for_words() {
        assert_eq!(differing(&lines("a\n...\nz"), "a\nb\nc\nz\n"), None);
        assert_eq!(differing(&lines("a\n..."), "a\nb\n"), None);
        assert!(differing(&lines("a\n...\nz\ny"), "a\nz\nb\ny\n").is_some());
        assert_eq!(differing(&lines("t  0  <pid>  x"), "t  0          4711 x"), None);
        assert!(differing(&lines("t 0 <pid> x"), "t 0 4711 y").is_some());
        assert!(differing(&lines("t <pid>"), "t ").is_some());
        assert_eq!(differing(&lines("a < b"), "a < b"), None);
    }
}
