//! Files of `/etc/sysctl.d`, as sysctl.d(5) reads them.

/// Returns what a text sets, in its order: keys and values as they stand there.
pub fn assigned(text: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (key, value) = line.split_once('=')?;
        // A minus tells sysctl to go on when the kernel refuses.
        let key = key.trim().strip_prefix('-').unwrap_or(key.trim()).trim();
        Some((key.to_owned(), value.trim().to_owned()))
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_skipped_and_blanks_do_not_count() {
        let text =
            "# a = 1\n;b=2\n\n net.ipv4.ip_forward = 1 \n-vm.swappiness=10\nkernel.core_pattern = |/x %e = y\nno\n";
        let pairs = [("net.ipv4.ip_forward", "1"), ("vm.swappiness", "10"), ("kernel.core_pattern", "|/x %e = y")];
        assert_eq!(assigned(text), pairs.map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}
