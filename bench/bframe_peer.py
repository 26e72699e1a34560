"""The same number of prices billed by bframelib, an open billing library on DuckDB, where it is installed.

It is under the AGPL, so it is no dependency: `pip install bframelib` into the environment of the bench to see it. It
runs as a process of its own: python -m bench.bframe_peer MAILBOXES FOLDER
"""

import importlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

# Fixed prices of a month, prorated: 1.1 for each mailbox, 110 in a contract. There are no tiers, taxes or numbers.
_WORLD = """
    insert into src.organizations (id, name) values (1, 'Bench');
    insert into src.environments (id, name, org_id) values (1, 'Bench', 1);
    insert into src.branches (id, name, org_id, env_id) values (1, 'main', 1, 1);
    insert into src.products (id, org_id, env_id, branch_id, created_at, name, ptype)
        values (1, 1, 1, 1, '2025-01-01', 'Exchange', 'FIXED');
    insert into src.customers (id, org_id, env_id, branch_id, durable_id, created_at, effective_at, name)
        select n, 1, 1, 1, 'cus_' || n, '2025-01-01', '2025-01-01', 'Kundin ' || n from range({contracts}) t(n);
    insert into src.contracts (id, org_id, env_id, branch_id, created_at, durable_id, prorate, started_at, ended_at,
            customer_id, effective_at)
        select n, 1, 1, 1, '2025-01-01', 'con_' || n, true, '2025-06-01', '2030-01-01', 'cus_' || n, '2025-06-01'
        from range({contracts}) t(n);
    insert into src.contract_prices (id, org_id, env_id, branch_id, created_at, price, invoice_delivery,
            invoice_schedule, started_at, ended_at, fixed_quantity, prorate, product_uid, contract_uid)
        select n, 1, 1, 1, '2025-01-01', '7.90', 'ARREARS', 1,
            case when n % 11 = 0 then timestamptz '2026-01-16' else timestamptz '2025-06-01' end,
            case when n % 11 = 1 then timestamptz '2026-01-16' else timestamptz '2030-01-01' end,
            1, true, 1, n % {contracts}
        from range({prices}) t(n);
"""
_LINES = "create table billed as select * from bframe.line_items"
_CONFIGURATION = {
    "org_id": 1,
    "env_id": 1,
    "branch_id": 1,
    "rating_as_of_dt": "2026-02-01",
    "rating_range": ["2026-01-01", "2026-02-01"],
    "prod_system_dt": "2026-02-01",
    "branch_system_dt": "2026-02-01",
}


def measure(mailboxes: int) -> float | None:
    """Seconds of one month; None where it is not installed. Raises CalledProcessError when it fails."""
    if importlib.util.find_spec("bframelib") is None:
        return None
    with tempfile.TemporaryDirectory(prefix="postfachwerk-bench-") as folder:
        command = [sys.executable, "-m", "bench.bframe_peer", str(mailboxes), folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def bill(mailboxes: int, folder: Path) -> float:
    """Fill a database and rate its month into a table."""
    library: Any = importlib.import_module("bframelib")
    source = library.Source("core", f"attach '{folder / 'bench.duckdb'}' as src", True)
    client = library.Client(_CONFIGURATION, [source])
    prices = mailboxes * 11 // 10
    for statement in _WORLD.format(prices=prices, contracts=max(1, prices // 110)).split(";"):
        if statement.strip():
            client.con.execute(statement)
    started = perf_counter()
    client.execute(_LINES)
    seconds = perf_counter() - started
    (lines,) = client.con.execute("select count(*) from billed").fetchone()
    assert lines == prices, f"{lines} lines of {prices} prices"
    return seconds


if __name__ == "__main__":
    print(bill(int(sys.argv[1]), Path(sys.argv[2])))
