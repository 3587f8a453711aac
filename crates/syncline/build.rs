//! Finds out whether the page was built, so that the binary can bring it along.

use std::path::Path;

fn main() {
    println!("cargo::rustc-check-cfg=cfg(syncline_page)");
    println!("cargo::rerun-if-changed=build.rs");
    let web = Path::new("../../web");
    if web.join("dist/index.html").exists() {
        println!("cargo::rustc-cfg=syncline_page");
        println!("cargo::rerun-if-changed=../../web/dist");
    } else if web.exists() {
        // A path that is not there would count as changed every time.
        println!("cargo::rerun-if-changed=../../web");
    }
}
