//! Names of users and groups on a node.

use crate::text::{check_name, text_newtype};

const RULE: &str = "use letters, digits, '_', '-' and '.', starting with a letter or '_'";

fn allowed(i: usize, c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (i > 0 && (c.is_ascii_digit() || "-.".contains(c)))
}

text_newtype!(
    /// A user's name, as in passwd(5): at most 32 characters. Whether the user exists is the node's to say.
    UserName,
    |text| check_name("user", text, 32, allowed, RULE)
);

text_newtype!(
    /// A group's name, as in group(5): at most 32 characters.
    GroupName,
    |text| check_name("group", text, 32, allowed, RULE)
);

impl UserName {
    /// The super-user.
    pub fn root() -> Self {
        Self::parse("root").expect("root is a valid name")
    }
}

impl GroupName {
    /// The super-user's group.
    pub fn root() -> Self {
        Self::parse("root").expect("root is a valid name")
    }
}
