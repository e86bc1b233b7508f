"""The neighbourhood simulator: N real household nodes over one clock."""
