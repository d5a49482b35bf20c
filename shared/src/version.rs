//! The versioned surfaces. The fifth, the schema, is the number of the newest migration, which the store knows.

/// The product's version: one for every crate and the dashboard.
pub const PRODUCT: &str = env!("CARGO_PKG_VERSION");

/// The version of what a script sees, "major.minor": minor when something is added, major when something is
/// removed or changed.
pub const SDK: &str = "1.0";

/// The major version of the HTTP API, the `1` of `/api/v1`.
pub const API: u32 = 1;

/// The version of what the nodes of one instance exchange.
pub const WIRE: u32 = 1;
