"""What a household's node tells its house: Home Assistant, emonCMS, Prometheus, a status page."""
