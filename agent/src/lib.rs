//!

pub mod btf;
