//! experiment
use bdl_benches::uci::*; use bdl_infer::*; use bdl_model::*; use rayon::prelude::*; use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let get = |k: &str, d: &str| a.iter().position(|x| x == k).map(|i| a[i + 1].clone()).unwrap_or(d.to_string());
    let sets = get("--sets", "boston,concrete,energy,wine-red,yacht"); let nsplit: usize = get("--splits", "4").parse().unwrap();
    let method = Method::from_name(&get("--method", "mc-dropout")).unwrap();
    let f = |k: &str, d: &str| -> f64 { get(k, d).parse().unwrap() };
    for name in sets.split(',') {
        let set = Set::read(name, &std::fs::read_to_string(format!("/work/shared/data/uci/{name}.csv")).unwrap()).unwrap();
        let mut sp = splits(set.y.len());
        if get("--test","no")=="no" { for s in &mut sp { let cut=(0.8*s.train.len() as f64).round() as usize; s.test = s.train.split_off(cut); } }
        let from = f("--from","0") as usize; sp.drain(..from);
        let setting = Setting { name: "x", architecture: Architecture { method, noise: if get("--noise", "learned") == "het" { Noise::Heteroscedastic } else { Noise::Learned },
            drop_prob: f("--p", "0.01"), length_scale: f("--l", "1.0"), prior: if get("--prior","fan")=="fan" {bdl_layers::Prior::FanIn(f("--gain","1.0"))} else {bdl_layers::Prior::StdDev(f("--gain","1.0"))},
            hidden: get("--hidden","50").split(',').map(|x| x.parse().unwrap()).collect(), ..Architecture::default() },
            fit: FitConfig { epochs: f("--epochs", "400") as usize, batch: f("--batch", "32") as usize, lr: f("--lr", "0.001"), kl_weight: f("--klw","1.0"),
              kl_warmup: KlWarmup::new(f("--warm","0")).unwrap(),
              schedule: if get("--sched", "const") == "cosine" { Schedule::Cosine { end: 0.0 } } else { Schedule::Constant }, ..FitConfig::default() },
            members: f("--members", "1") as usize, samples: f("--samples", "100") as usize };
        let t = Instant::now();
        let r: Vec<Scores> = sp[..nsplit].par_iter().map(|s| run(&set, s, &setting).unwrap()).collect();
        let st = |g: &dyn Fn(&Scores) -> f64| { let n = r.len() as f64; let m = r.iter().map(|s| g(s)).sum::<f64>() / n; let v = r.iter().map(|s| (g(s) - m).powi(2)).sum::<f64>() / (n - 1.0); (m, (v / n).sqrt()) };
        let (a1, b1) = st(&|s| s.rmse); let (a2, b2) = st(&|s| s.nll); let (c, _) = st(&|s| s.coverage_90);
        let p = PUBLISHED.iter().find(|p| p.set == name).unwrap();
        println!("{name:10} rmse {a1:.3}±{b1:.3} (pub {:.3} max {:.3})  nll {a2:.3}±{b2:.3} (pub {:.3} max {:.3}; mf {:.3} max {:.3}) cov {c:.2}  {:.1}s", p.mc_dropout_rmse.mean, 1.1*p.mc_dropout_rmse.mean+2.0*p.mc_dropout_rmse.se, p.mc_dropout_nll.mean, p.mc_dropout_nll.mean+0.1+2.0*p.mc_dropout_nll.se, p.mean_field_nll.mean, p.mean_field_nll.mean+0.15+2.0*p.mean_field_nll.se, t.elapsed().as_secs_f64());
    }
}
