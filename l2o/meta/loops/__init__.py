"""Inner loops: how the agents of a population are trained, by the kind of agent."""
