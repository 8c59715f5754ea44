//! What befalls an installation on any day, with or without an attacker.

use anyhow::Result;

use crate::catalogue::Event;
use crate::victim::{self, Victim};
use crate::world::World;

/// Hosts that the victim takes away and brings back.
const SHRINKS: usize = 20;

/// Lets it happen, and waits until it is over.
pub(crate) async fn happen(world: &World, victim: &Victim, event: Event) -> Result<()> {
    match event {
        Event::ControllerRestarts => world.restart_controller().await,
        Event::EnvoyStarts => {
            let proxy = world.envoy("envoy-late").await?;
            proxy.envoy.ready().await?;
            for (host, _) in victim.sample(4) {
                victim.until_answered(&proxy, &host).await?;
            }
            Ok(())
        }
        Event::VictimShrinks => {
            let hosts = || (0..SHRINKS).map(|k| victim::name(victim.tls + 1 + 2 * k));
            // Hosts that the requests do not ask for: those may not cease.
            let asked: Vec<String> = victim.sample(24).into_iter().map(|(host, _)| host).collect();
            let spare: Vec<String> = hosts().filter(|host| !asked.contains(host)).collect();
            for host in &spare {
                victim.unpublish(host).await?;
            }
            until_gone(world, victim, &spare).await?;
            for host in &spare {
                victim.publish(host, false).await?;
            }
            Ok(())
        }
    }
}

/// Waits until every Envoy answers 404 for these hosts: a removal is not held up.
async fn until_gone(world: &World, victim: &Victim, hosts: &[String]) -> Result<()> {
    for proxy in world.proxies() {
        for host in hosts {
            let request = victim.request(proxy, host, "/", false);
            request.until_status(404).await?;
        }
    }
    Ok(())
}
