//! The affinity tables: who is kept where.

use std::sync::Arc;

use arriero_core::PoolId;

use crate::admin::control::{AffinityQuery, AffinityRow, AffinityTable, Cleared, ControlError};
use crate::proxy::Gateway;
use crate::snapshot::Snapshot;

pub(super) fn table(gateway: &Arc<Gateway>, query: &AffinityQuery) -> Result<AffinityTable, ControlError> {
    let snapshot = gateway.snapshot.load_full();
    let key = query.key_hash()?;
    let pools = pools(&snapshot, query)?;
    let now = gateway.herd.now();
    Ok(gateway.herd.read(|fleet| {
        let mut table = AffinityTable::default();
        for (pool, id) in pools {
            for row in fleet.affinity(id).filter(|row| key.is_none_or(|key| row.key == key) && row.until > now) {
                table.entries += 1;
                if table.rows.len() >= query.rows() {
                    continue;
                }
                let endpoint = fleet.endpoints().get(row.endpoint).map_or("", |endpoint| &endpoint.spec.name);
                table.rows.push(AffinityRow {
                    pool: pool.clone(),
                    key: format!("{:016x}", row.key),
                    kind: if row.is_id { "id" } else { "key" }.to_owned(),
                    endpoint: endpoint.to_owned(),
                    idle_s: (now - row.used).as_secs_f64(),
                    expires_in_s: (row.until - now).as_secs_f64(),
                });
            }
        }
        table
    }))
}

pub(super) fn clear(gateway: &Arc<Gateway>, query: &AffinityQuery) -> Result<Cleared, ControlError> {
    let snapshot = gateway.snapshot.load_full();
    let key = query.key_hash()?;
    let pools = pools(&snapshot, query)?;
    let cleared = gateway
        .herd
        .change(|fleet, _| (pools.iter().map(|(_, pool)| fleet.clear_affinity(*pool, key)).sum(), Vec::new()));
    Ok(Cleared { cleared })
}

/// The pools that are asked for, with their names.
fn pools(snapshot: &Snapshot, query: &AffinityQuery) -> Result<Vec<(String, PoolId)>, ControlError> {
    let all = snapshot.plan.pools.iter().zip(&snapshot.pools);
    let all = all.map(|(plan, binding)| (plan.name.to_string(), binding.id));
    let Some(wanted) = &query.pool else { return Ok(all.collect()) };
    let found: Vec<_> = all.filter(|(name, _)| name == wanted).collect();
    if found.is_empty() {
        let names = snapshot.plan.pools.iter().map(|pool| pool.name.as_ref());
        return Err(ControlError::not_found("pool", wanted, names));
    }
    Ok(found)
}
