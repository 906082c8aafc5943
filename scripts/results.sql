-- The published features, as scripts/show_results.sh prints them. Some names are shortened here to fit a
-- screen; the views have more columns and the names that docs/features.md explains.

\pset null -
\pset linestyle unicode
\pset border 1

\echo 'user_features'
SELECT
  dataset,
  user_id,
  name,
  total_experiments AS experiments,
  round(average_run_time::numeric, 3) AS average_run_time,
  most_common_compound_id AS compound_id,
  most_common_compound_name AS most_common_compound,
  most_common_compound_uses AS uses,
  array_to_string(most_common_compound_ids, ' ') AS tied_ids,
  round(100 * experiment_share::numeric, 1) AS share_percent
FROM user_features
ORDER BY dataset, user_id
LIMIT 100;

\echo 'experiment_summary'
SELECT
  dataset,
  total_users AS users,
  active_users,
  total_experiments AS experiments,
  round(average_experiments_per_user::numeric, 3) AS per_user,
  round(average_experiments_per_active_user::numeric, 3) AS per_active_user,
  round(average_compounds_per_experiment::numeric, 3) AS compounds_per_experiment,
  computed_at::timestamptz(0) AS computed_at
FROM experiment_summary
ORDER BY dataset;
