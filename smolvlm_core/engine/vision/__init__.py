"""Picture tiles → features: interchangeable encoders, the choice of the fastest one that agrees, and a cache of features."""
