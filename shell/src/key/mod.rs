//! Investigators' keys on this machine: the key store, and which key signs.

mod choose;
mod gnupg;
mod known;
mod passphrase;
mod revoke;
mod store;

pub use choose::{AnySigner, choose, local};
pub use known::{Certificates, Signers};
pub use passphrase::Passphrases;
pub use revoke::{Revocation, find as find_revoked};
pub use store::{LOCAL, Listed, Store};
