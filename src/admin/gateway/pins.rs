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
    let mut table = AffinityTable::default();
    for (pool, id) in pools {
        // formatted after the lock is free
        let rows = gateway.herd.read(|fleet| {
            let fits = fleet.affinity(id).filter(|row| key.is_none_or(|key| row.key == key) && row.until > now);
            let room = query.rows() - table.rows.len();
            let mut rows = Vec::new();
            for row in fits {
                table.entries += 1;
                if rows.len() < room {
                    rows.push((row, fleet.endpoints().get(row.endpoint).map(|endpoint| endpoint.spec.name.clone())));
                }
            }
            rows
        });
        table.rows.extend(rows.into_iter().map(|(row, endpoint)| AffinityRow {
            pool: pool.clone(),
            key: format!("{:016x}", row.key),
            kind: if row.is_id { "id" } else { "key" }.to_owned(),
            endpoint: endpoint.as_deref().unwrap_or("").to_owned(),
            idle_s: (now - row.used).as_secs_f64(),
            expires_in_s: (row.until - now).as_secs_f64(),
        }));
    }
    Ok(table)
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
