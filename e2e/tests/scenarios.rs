//! Scenarios on real kubelets.

fn main() {}
