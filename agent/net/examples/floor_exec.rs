//! A floor of `make bench`: what it takes to start a static program that does nothing.

fn main() {}
