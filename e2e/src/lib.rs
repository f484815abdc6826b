//! The lab: to be completed.
