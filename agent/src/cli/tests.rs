//! What people type and see.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_command_line_is_sound() {
    Cli::command().debug_assert();
    let cli = Cli::parse_from(["lampas-agent", "pause", "--for", "2h", "--reason", "disk swap", "--root", "/tmp/n"]);
    assert_eq!(cli.root, PathBuf::from("/tmp/n"));
    assert!(matches!(cli.command, Command::Pause { length: Some(l), .. } if l == Duration::from_secs(7200)));
}

#[test]
fn lengths_are_read_with_their_unit() {
    for (text, secs) in [
        ("90s", Some(90)),
        ("30m", Some(1800)),
        ("2h", Some(7200)),
        ("1d", Some(86_400)),
        ("45", Some(45)),
        ("0s", None),
        ("h", None),
        ("2w", None),
        ("-1s", None),
        ("99999999999999999999d", None),
    ] {
        assert_eq!(parse_length(text).ok(), secs.map(Duration::from_secs), "{text}");
    }
}

#[test]
fn what_a_terminal_would_obey_is_shown_instead() {
    assert_eq!(clean("a\u{1b}[31mb\u{202e}c\td\n"), "a<U+001B>[31mb<U+202E>c\td\n");
}
