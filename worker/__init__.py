"""The worker: settings, database, the ledger of jobs, the queue and what runs behind it."""
