//! Hosts files, with whole and broken blocks: foreign bytes stay, replacing twice is replacing once.
#![no_main]

use lampas_render::{block, hosts};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(hosts::parse(bytes).to_bytes(), bytes);
    let _ = hosts::read_back(bytes);
    let line = hosts::HostsLine {
        address: [10, 0, 0, 5].into(),
        names: vec![lampas_shared::host::HostName::parse("db-1").expect("valid")],
        comment: String::new(),
    };
    let lines = [line];
    let _ = hosts::shadowed(bytes, &lines);
    let once = hosts::replace_block(bytes, &lines);
    assert_eq!(hosts::replace_block(&once, &lines), once);
    assert_eq!(hosts::read_back(hosts::extract_block(&once).expect("a block")).as_deref(), Ok(&lines[..]));
    let left = block::foreign(bytes);
    assert_eq!(block::foreign(&left), left);
    if !bytes.windows(6).any(|w| w == b"LAMPAS") {
        assert_eq!(hosts::replace_block(&once, &[]), bytes);
    }
});
