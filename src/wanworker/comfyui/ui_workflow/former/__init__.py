"""Read what only former frontends saved."""
