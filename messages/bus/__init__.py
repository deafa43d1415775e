"""The bus: one contract, on real Kafka and in memory."""
