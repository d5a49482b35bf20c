//! What the tests of this crate share: servers to ask, clients that ask, and certificates between them.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod certificate;
pub mod echo;
pub mod gateway;
pub mod raw;
pub mod raw_h2;
pub mod site;
