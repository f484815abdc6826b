//! Pure: the rates that a runtime asks for.

use common::bandwidth::{RATES, Rate};
use serde::Deserialize;
use serde_json::Value;

/// The rates of both directions, seen from the pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) ingress: Option<Rate>,
    pub(crate) egress: Option<Rate>,
}

/// In bits, as CNI's conventions have it ("dynamic plugin specific fields", `bandwidth`), or with the
/// capitals that containerd writes (`BandWidth` in go-cni has no JSON names). Zero is nothing.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Asked {
    #[serde(alias = "IngressRate")]
    ingress_rate: u64,
    #[serde(alias = "IngressBurst")]
    ingress_burst: u64,
    #[serde(alias = "EgressRate")]
    egress_rate: u64,
    #[serde(alias = "EgressBurst")]
    egress_burst: u64,
}

/// What `bandwidth` of the runtime's configuration says.
pub(super) fn rates(bandwidth: Option<&Value>, mistakes: &mut Vec<String>) -> Rates {
    let asked = match bandwidth.map(Option::<Asked>::deserialize) {
        None => Asked::default(),
        Some(Ok(asked)) => asked.unwrap_or_default(),
        Some(Err(error)) => {
            mistakes.push(format!("bandwidth: {error}"));
            Asked::default()
        }
    };
    let mut rate = |direction, rate, burst| {
        checked(rate, burst).unwrap_or_else(|mistake| {
            mistakes.push(format!("bandwidth: {direction}{mistake}"));
            None
        })
    };
    Rates {
        ingress: rate("ingress", asked.ingress_rate, asked.ingress_burst),
        egress: rate("egress", asked.egress_rate, asked.egress_burst),
    }
}

fn checked(bits_per_second: u64, burst: u64) -> Result<Option<Rate>, String> {
    match bits_per_second {
        0 if burst > 0 => Err(format!("Burst {burst} has no rate")),
        0 => Ok(None),
        rate if RATES.contains(&rate) => {
            let burst = Some(burst).filter(|&burst| burst > 0);
            Ok(Some(Rate { bits_per_second, burst }))
        }
        rate => {
            let (least, most) = (RATES.start(), RATES.end());
            Err(format!("Rate {rate} is not between {least} and {most} bit/s"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const fn rate(bits_per_second: u64, burst: u64) -> Rate {
        Rate { bits_per_second, burst: Some(burst) }
    }

    #[track_caller]
    fn check(bandwidth: &Value, ingress: Option<Rate>, egress: Option<Rate>) {
        let mut mistakes = Vec::new();
        assert_eq!(rates(Some(bandwidth), &mut mistakes), Rates { ingress, egress });
        assert_eq!(mistakes, [""; 0]);
    }

    #[test]
    fn rates_are_read_as_each_runtime_spells_them() {
        check(
            &json!({ "ingressRate": 1000, "ingressBurst": 8, "egressRate": 2000, "egressBurst": 9 }),
            Some(rate(1000, 8)),
            Some(rate(2000, 9)),
        );
        let burst = u64::from(u32::MAX);
        check(
            &json!({ "IngressRate": 1000, "IngressBurst": burst, "EgressRate": 0, "EgressBurst": 0 }),
            Some(rate(1000, burst)),
            None,
        );
        let unset = Some(Rate { bits_per_second: 10_000_000, burst: None });
        check(&json!({ "egressRate": 10_000_000 }), None, unset);
        check(&json!({}), None, None);
        check(&Value::Null, None, None);
        assert_eq!(rates(None, &mut Vec::new()), Rates::default());
    }

    #[track_caller]
    fn refuse(bandwidth: &Value, expected: &[&str]) {
        let mut mistakes = Vec::new();
        rates(Some(bandwidth), &mut mistakes);
        assert_eq!(mistakes.len(), expected.len(), "{mistakes:?}");
        let pairs = mistakes.iter().zip(expected);
        assert!(pairs.into_iter().all(|(mistake, part)| mistake.contains(part)), "{mistakes:?}");
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_named() {
        refuse(&json!({ "ingressBurst": 8 }), &["ingressBurst 8 has no rate"]);
        refuse(
            &json!({ "ingressRate": 999, "egressRate": 1_000_000_000_000_001_u64 }),
            &["ingressRate 999 is not between 1000", "egressRate 1000000000000001 is not"],
        );
        refuse(&json!({ "egressRate": -1 }), &["bandwidth: invalid value"]);
        refuse(&json!("10M"), &["bandwidth: invalid type"]);
    }
}
