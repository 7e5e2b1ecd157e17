//! Which units become idle when weights go, layer by layer until nothing changes.

use super::{Cut, Prunable, PrunedLayer, Units, Weights, name_inside};
use crate::layer::Layer;
use crate::{Error, Plan, Registry, Residual};

/// The layers of a network with posteriors over weights, and what is left of each.
pub(super) struct Stages<'p> {
    plan: &'p Plan,
    members: Vec<&'p [f32]>,
    stages: Vec<Stage<'p>>,
    /// The networks inside residual connections, with the indices of these.
    inside: Vec<(usize, Stages<'p>)>,
}

/// A layer whose weights can go.
struct Stage<'p> {
    index: usize,
    weights: &'p dyn Weights,
    cut: Cut,
    /// The layers between its outputs and the inputs of the next stage, if units can be taken out of all of them.
    link: Option<Vec<&'p dyn Units>>,
    /// For each member, what its input units that were folded are.
    constants: Vec<Vec<f32>>,
}

/// A unit that is not needed: the number that it is in each member, none where nobody reads it.
#[derive(Clone, Debug, Default)]
struct Idle {
    constants: Vec<f32>,
}

impl Idle {
    /// Whether nothing is missing where it was.
    fn is_zero(&self) -> bool {
        self.constants.iter().all(|c| *c == 0.0)
    }
}

impl<'p> Stages<'p> {
    /// The weights that are noise in every member are gone, and all units are there.
    pub(super) fn of(plan: &'p Plan, members: Vec<&'p [f32]>, ln_alpha: f32) -> Self {
        let (mut stages, mut inside) = (Vec::<Stage<'p>>::new(), Vec::new());
        for (index, placed) in plan.layers.iter().enumerate() {
            let own = members.iter().map(|params| &params[placed.start..placed.end]);
            match placed.layer.prunable() {
                Prunable::Weights(weights) => stages.push(Stage::of(index, weights, own, ln_alpha)),
                Prunable::Inside(residual) => {
                    inside.push((index, Self::of(residual.inner(), own.collect(), ln_alpha)));
                }
                _ => {}
            }
        }
        for at in 1..stages.len() {
            let [front, behind] = [&stages[at - 1], &stages[at]];
            let link = link(plan, front, behind);
            stages[at - 1].link = link;
        }
        Self { plan, members, stages, inside }
    }

    /// Removes units until all that are left read and are read.
    pub(super) fn remove_idle_units(&mut self) {
        self.inside.iter_mut().for_each(|(_, stages)| stages.remove_idle_units());
        loop {
            let mut changed = false;
            for at in 1..self.stages.len() {
                changed |= self.remove_between(at - 1);
            }
            if !changed {
                return;
            }
        }
    }

    /// The same between a stage and the one behind; whether there was anything to remove.
    fn remove_between(&mut self, at: usize) -> bool {
        let Some(link) = self.stages[at].link.clone() else { return false };
        let (front, behind) = (&self.stages[at], &self.stages[at + 1]);
        let (fed, read) = (front.fed(), behind.read(front.cut.units.len()));
        let mut left = front.cut.units.iter().filter(|there| **there).count();
        let mut idle: Vec<Option<Idle>> = vec![None; front.cut.units.len()];
        for (unit, idle) in idle.iter_mut().enumerate() {
            if !front.cut.units[unit] || left == 1 || (read[unit] && fed[unit]) {
                continue;
            }
            *idle = if read[unit] { self.constant(front, unit, &link) } else { Some(Idle::default()) };
            if idle.as_ref().is_some_and(|idle| !idle.is_zero() && !behind.weights.is_uniform()) {
                *idle = None;
            }
            left -= usize::from(idle.is_some());
        }
        if idle.iter().all(Option::is_none) {
            return false;
        }
        self.stages[at].remove_outputs(&idle);
        self.stages[at + 1].remove_inputs(&idle);
        true
    }

    /// What a unit without weights is in each member, as the stage behind sees it; `None` if that is not a number.
    fn constant(&self, of: &Stage<'_>, unit: usize, link: &[&dyn Units]) -> Option<Idle> {
        let placed = &self.plan.layers[of.index];
        let each = |params: &&[f32]| {
            let biases = of.weights.biases(&params[placed.start..placed.end])?;
            let bias = biases.get(unit).copied().unwrap_or(0.0);
            link.iter().try_fold(bias, |x, layer| layer.constant(x)).filter(|c| c.is_finite())
        };
        self.members.iter().map(each).collect::<Option<_>>().map(|constants| Idle { constants })
    }

    /// What is left of the network.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan, Error> {
        let layers = (0..self.plan.layers.len()).map(|index| self.layer(index, registry));
        Plan::new(layers.collect::<Result<_, _>>()?)
    }

    /// What is left of a layer.
    fn layer(&self, index: usize, registry: &Registry) -> Result<Box<dyn Layer>, Error> {
        let layer = &*self.plan.layers[index].layer;
        if let Some(inside) = self.inside(index) {
            return Ok(Box::new(Residual::around(inside.plan(registry)?)?));
        }
        match (self.stage(index), layer.prunable()) {
            (Some(stage), _) if !stage.cut.is_whole() => stage.weights.cut(&stage.cut),
            (None, Prunable::Units(units)) => match self.units_in_front(index) {
                Some(kept) if kept.contains(&false) => units.narrowed(kept),
                _ => registry.build(layer.kind(), &layer.config()?),
            },
            _ => registry.build(layer.kind(), &layer.config()?),
        }
    }

    /// What is left of a member's parameters.
    pub(super) fn params(&self, member: usize) -> Vec<f32> {
        (0..self.plan.layers.len()).flat_map(|index| self.params_of(index, member)).collect()
    }

    /// What is left of a layer's parameters.
    fn params_of(&self, index: usize, member: usize) -> Vec<f32> {
        if let Some(inside) = self.inside(index) {
            return inside.params(member);
        }
        let placed = &self.plan.layers[index];
        let params = &self.members[member][placed.start..placed.end];
        match self.stage(index) {
            Some(stage) if !stage.cut.is_whole() => {
                stage.weights.cut_params(params, &stage.cut, &stage.constants[member])
            }
            _ => params.to_vec(),
        }
    }

    fn inside(&self, index: usize) -> Option<&Self> {
        self.inside.iter().find(|(at, _)| *at == index).map(|(_, stages)| stages)
    }

    fn stage(&self, index: usize) -> Option<&Stage<'p>> {
        self.stages.iter().find(|stage| stage.index == index)
    }

    /// The units that the layer between two stages works on, where they can be taken out.
    fn units_in_front(&self, index: usize) -> Option<&[bool]> {
        let stage = self.stages.iter().rev().find(|stage| stage.index < index)?;
        stage.link.as_ref().map(|_| &stage.cut.units[..])
    }

    /// What became of each layer with posteriors over weights, in order.
    pub(super) fn report(&self) -> Vec<PrunedLayer> {
        let of_layer = |(index, (name, _)): (usize, (&str, _))| match (self.stage(index), self.inside(index))
        {
            (Some(stage), _) => vec![stage.report(name.to_owned())],
            (None, Some(inside)) => inside
                .report()
                .into_iter()
                .map(|layer| PrunedLayer { name: name_inside(name, &layer.name), ..layer })
                .collect(),
            (None, None) => Vec::new(),
        };
        self.plan.layers().enumerate().flat_map(of_layer).collect()
    }
}

impl<'p> Stage<'p> {
    /// All units are there, and the weights that are more than noise in one member at least.
    fn of(
        index: usize,
        weights: &'p dyn Weights,
        members: impl ExactSizeIterator<Item = &'p [f32]>,
        ln_alpha: f32,
    ) -> Self {
        let constants = vec![vec![0.0; weights.units()[0]]; members.len()];
        let kept = members.map(|params| weights.keeps(params, ln_alpha)).reduce(either).unwrap_or_default();
        Self { index, weights, cut: Cut::whole(kept, weights.units()), link: None, constants }
    }

    /// Whether each output unit has a weight.
    fn fed(&self) -> Vec<bool> {
        let mut fed = vec![false; self.cut.units.len()];
        let there = self.cut.kept.iter().zip(&self.cut.folded).enumerate();
        let there = there.filter(|(_, (kept, folded))| **kept || **folded);
        there.for_each(|(weight, _)| fed[self.weights.ends(weight)[1]] = true);
        fed
    }

    /// Whether each of `units` units in front is read; input unit i is one of unit `i mod units`.
    fn read(&self, units: usize) -> Vec<bool> {
        let mut read = vec![false; units];
        let kept = (0..self.cut.kept.len()).filter(|&weight| self.cut.kept[weight]);
        kept.for_each(|weight| read[self.weights.ends(weight)[0] % units] = true);
        read
    }

    fn remove_outputs(&mut self, idle: &[Option<Idle>]) {
        self.cut.units.iter_mut().zip(idle).for_each(|(there, idle)| *there &= idle.is_none());
        for weight in 0..self.cut.kept.len() {
            if idle[self.weights.ends(weight)[1]].is_some() {
                (self.cut.kept[weight], self.cut.folded[weight]) = (false, false);
            }
        }
    }

    /// Removes the inputs of units in front; input unit i is one of unit `i mod units`.
    fn remove_inputs(&mut self, idle: &[Option<Idle>]) {
        for input in 0..self.cut.inputs.len() {
            let Some(Idle { constants }) = &idle[input % idle.len()] else { continue };
            self.cut.inputs[input] = false;
            self.constants.iter_mut().zip(constants).for_each(|(of, &c)| of[input] = c);
        }
        for weight in 0..self.cut.kept.len() {
            let Some(idle) = &idle[self.weights.ends(weight)[0] % idle.len()] else { continue };
            if self.cut.kept[weight] {
                (self.cut.kept[weight], self.cut.folded[weight]) = (false, !idle.is_zero());
            }
        }
    }

    fn report(&self, name: String) -> PrunedLayer {
        let units = self.cut.units.iter().filter(|there| **there).count();
        let kept = self.cut.kept.iter().filter(|kept| **kept).count();
        let mut always = vec![false; self.cut.units.len()];
        let folded = (0..self.cut.folded.len()).filter(|&weight| self.cut.folded[weight]);
        folded.for_each(|weight| always[self.weights.ends(weight)[1]] = true);
        let always = always.iter().filter(|always| **always).count();
        PrunedLayer {
            name,
            weights: self.cut.kept.len(),
            kept: kept + always,
            constant: always,
            units: [self.cut.units.len(), units],
        }
    }
}

/// The layers between two stages, if the units of the first are the inputs of the second and can be taken out.
fn link<'p>(plan: &'p Plan, front: &Stage<'p>, behind: &Stage<'p>) -> Option<Vec<&'p dyn Units>> {
    let ([_, units], [inputs, _]) = (front.weights.units(), behind.weights.units());
    let fits = front.weights.narrows() && behind.weights.narrows() && inputs % units == 0;
    let between = plan.layers[front.index + 1..behind.index].iter();
    let layers = between.map(|placed| match placed.layer.prunable() {
        Prunable::Units(layer) if layer.units().is_none_or(|n| n == units) => Some(layer),
        _ => None,
    });
    layers.collect::<Option<Vec<_>>>().filter(|_| fits)
}

fn either(mut a: Vec<bool>, b: Vec<bool>) -> Vec<bool> {
    a.iter_mut().zip(b).for_each(|(a, b)| *a |= b);
    a
}
