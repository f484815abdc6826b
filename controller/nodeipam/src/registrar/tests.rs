//! The registrar in tables, and every order in which things can happen to several of them.

mod model;
mod sizes;
