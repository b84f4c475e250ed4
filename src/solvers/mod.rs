//! How a challenge is presented and cleaned up: the solver chosen for an identifier, and the
//! objects, the responder and the check that a challenge type needs.

pub mod dns01;
pub mod http01;
pub mod overrides;
pub mod pick;
