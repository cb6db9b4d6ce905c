//! Looks whether the dashboard was built. Never runs npm.

use std::{env, path::Path};

fn main() {
    println!("cargo::rerun-if-changed=ui/dist/index.html");
    println!("cargo::rerun-if-env-changed=LAMPAS_WITHOUT_UI");
    let is_release = env::var("PROFILE").is_ok_and(|p| p == "release");
    let is_built = Path::new("ui/dist/index.html").exists();
    if is_release && !is_built && env::var("LAMPAS_WITHOUT_UI").is_err() {
        println!(
            "cargo::error=the dashboard is not built: run `npm ci && npm run build` in controller/ui, \
             or set LAMPAS_WITHOUT_UI=1 to go without"
        );
    }
}
