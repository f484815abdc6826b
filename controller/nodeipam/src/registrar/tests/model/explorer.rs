//! Goes through every state that the world can come to, the nearest first.

use std::collections::HashSet;
use std::fmt;
use std::time::Instant;

use super::packed::{Packed, pack, unpack};
use super::rules::{Hashed, Rules};
use super::world::{Options, World};

/// What came of it.
pub(super) struct Report {
    pub states: usize,
    pub steps: usize,
    /// States in which nobody has anything left to do.
    pub at_rest: usize,
    /// What replicas can be like.
    pub pictures: usize,
    pub seconds: f64,
    /// What is wrong, and what led to it.
    pub wrong: Option<(String, Vec<String>)>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { states, steps, at_rest, pictures, seconds, wrong } = self;
        write!(
            f,
            "{states} states, {steps} steps, {at_rest} at rest, {pictures} pictures of a controller, {seconds:.1} s"
        )?;
        if let Some((what, trace)) = wrong {
            write!(f, ": {what}, after {} steps:\n  {}", trace.len(), trace.join("\n  "))?;
        }
        Ok(())
    }
}

pub(super) struct Explorer {
    rules: Rules,
}

impl Explorer {
    pub(super) fn new(options: Options) -> Self {
        Self { rules: Rules::new(options) }
    }

    pub(super) fn run(self) -> Report {
        self.look(|_, _, _| None)
    }

    /// The same with another look for what is wrong with a state, given whether nobody has anything
    /// left to do in it.
    pub(super) fn look(
        mut self,
        mut look: impl FnMut(&Rules, &World, bool) -> Option<String>,
    ) -> Report {
        let start = Instant::now();
        let first = pack(&World::new(&self.rules.options, 0));
        let (mut states, mut parents) = (vec![first], vec![0_u32]);
        let mut known = HashSet::<Packed, Hashed>::from_iter([first]);
        let (mut next, mut steps, mut at_rest, mut wrong) = (0, 0, 0, None);
        while next < states.len() {
            let world = unpack(&self.rules.options, states[next]);
            let outcomes = self.rules.outcomes(&world);
            let rests = self.rules.rests(&world);
            at_rest += usize::from(rests);
            let what = self.rules.wrong(&world, rests);
            let what = what.or_else(|| look(&self.rules, &world, rests));
            if let Some(what) = what {
                wrong = Some((what, self.trace(&states, &parents, next)));
                break;
            }
            for (_, world) in outcomes {
                steps += 1;
                let packed = pack(&world);
                if known.insert(packed) {
                    states.push(packed);
                    parents.push(u32::try_from(next).unwrap());
                }
            }
            next += 1;
        }
        let (states, pictures) = (states.len(), self.rules.replicas.len());
        let seconds = start.elapsed().as_secs_f64();
        Report { states, steps, at_rest, pictures, seconds, wrong }
    }

    fn trace(&mut self, states: &[Packed], parents: &[u32], last: usize) -> Vec<String> {
        let mut path = vec![last];
        while let Some(&place) = path.last().filter(|&&place| place > 0) {
            path.push(parents[place] as usize);
        }
        path.reverse();
        let steps = path.windows(2).map(|pair| {
            let world = unpack(&self.rules.options, states[pair[0]]);
            let mut all = self.rules.outcomes(&world).into_iter();
            let (step, world) = all.find(|(_, world)| pack(world) == states[pair[1]]).unwrap();
            format!("{step:?} -> {:?} {:?}", world.nodes, world.claims)
        });
        steps.collect()
    }
}
