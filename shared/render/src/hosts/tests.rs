//! Hosts files as they are found on machines, and properties over arbitrary ones.

use proptest::prelude::*;

use super::*;

fn line(address: &str, names: &str, comment: &str) -> HostsLine {
    HostsLine {
        address: address.parse().expect("an address"),
        names: names.split(' ').map(|n| HostName::parse(n).expect("a name")).collect(),
        comment: comment.to_owned(),
    }
}

const DEBIAN: &str = "127.0.0.1\tlocalhost\n127.0.1.1\tweb-1.example\tweb-1\n\n# The following lines are desirable for \
                      IPv6 capable hosts\n::1     localhost ip6-localhost ip6-loopback\n10.9.9.9 db-1\n";

#[test]
fn debian_s_file_with_a_block() {
    let lines = [line("10.0.0.5", "db-1.example db-1", "primary"), line("fd00::5", "db-1.example db-1", "")];
    let file = replace_block(DEBIAN.as_bytes(), &lines);
    insta::assert_snapshot!("hosts", String::from_utf8(file.clone()).expect("text"));
    assert_eq!(read_back(extract_block(&file).expect("a block")), Ok(lines.to_vec()));
    assert_eq!(replace_block(&file, &[]), DEBIAN.as_bytes());
}

#[test]
fn foreign_lines_that_win_or_lose_are_named() {
    let lines = [line("10.0.0.5", "DB-1", ""), line("fd00::5", "db-1", ""), line("10.0.0.7", "web-1", "")];
    let note = |file: &[u8]| shadowed(file, &lines).iter().map(Shadow::to_string).collect::<Vec<_>>();
    assert_eq!(
        note(DEBIAN.as_bytes()),
        [
            "DB-1 also stands in line 6 as 10.9.9.9, which comes first and wins over 10.0.0.5",
            "web-1 is the node's own name: line 2 gives it 127.0.1.1, which stays the first answer, not 10.0.0.7",
        ]
    );
    let mut before = replace_block(b"", &lines);
    before.extend_from_slice(b"10.9.9.9 db-1\n10.0.0.7 web-1\n");
    assert_eq!(note(&before), ["DB-1 also stands in line 6 as 10.9.9.9; 10.0.0.5 comes first and wins"]);
}

#[test]
fn a_block_that_can_t_be_adopted_says_why() {
    let check = |block: &str, part: &str| {
        let error = read_back(block.as_bytes()).expect_err(block);
        let text = lampas_shared::error::Chain(&error).to_string();
        assert!(text.contains(part), "{block:?} gave {text}");
    };
    check("10.0.0.1 a\nten b\n", "line 2 of the block can't be adopted: the first word is not an IP address");
    check("10.0.0.1\n", "no name after the address");
    check("10.0.0.1 a_b!\n", "host name \"a_b!\"");
    check("10.0.0.1 a\r\n", "carriage return");
}

fn any_name() -> impl Strategy<Value = HostName> {
    "[a-z][a-z0-9]{0,8}(\\.[a-z]{1,5})?".prop_map(|n| HostName::parse(n).expect("a name"))
}

fn any_line() -> impl Strategy<Value = HostsLine> {
    let address = prop_oneof![
        any::<u32>().prop_map(|v| IpAddr::from(v.to_be_bytes())),
        any::<u128>().prop_map(|v| { IpAddr::from(v.to_be_bytes()) })
    ];
    (address, prop::collection::vec(any_name(), 1..4), "([a-z#][a-z# ü]{0,10}[a-z#])?")
        .prop_map(|(address, names, comment)| HostsLine { address, names, comment })
}

proptest! {
    #[test]
    fn reading_what_was_rendered_gives_the_same_lines(lines in prop::collection::vec(any_line(), 0..6)) {
        prop_assert_eq!(read_back(render_lines(&lines).as_bytes()), Ok(lines));
    }

    #[test]
    fn any_bytes_are_read_and_come_back(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(parse(&bytes).to_bytes(), bytes.clone());
        let _ = read_back(&bytes);
        let _ = shadowed(&bytes, &[line("10.0.0.5", "db-1", "")]);
    }

    #[test]
    fn a_block_s_lines_are_never_foreign(lines in prop::collection::vec(any_line(), 1..6)) {
        prop_assert_eq!(shadowed(&replace_block(b"", &lines), &lines), vec![]);
    }
}
