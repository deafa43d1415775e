"""The bus on Apache Kafka, through aiokafka."""
