"""Field types that several topics share, with their units and bounds."""

from typing import Annotated, Literal

from msgspec import Meta

Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1, description="integer nanoseconds since the epoch, UTC")]
Offset = Annotated[int, Meta(ge=0, le=2**63 - 1, description="Kafka offset")]
PartitionIndex = Annotated[int, Meta(ge=0, le=2**31 - 1, description="Kafka partition")]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Sequence = Annotated[int, Meta(ge=0, le=2**63 - 1, description="ordinal number, counts up")]
Count = Annotated[int, Meta(ge=0, le=2**63 - 1, description="how many")]
Name = Annotated[str, Meta(min_length=1, max_length=128)]
Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$", description="sha256, lower-case hex")]
Price = Annotated[float, Meta(description="quote currency per unit")]
PositivePrice = Annotated[float, Meta(gt=0, description="quote currency per unit")]
Size = Annotated[float, Meta(ge=0, description="units of the instrument")]
PositiveSize = Annotated[float, Meta(gt=0, description="units of the instrument")]
Money = Annotated[float, Meta(description="currency of the account")]
Units = Annotated[float, Meta(description="units of the instrument, negative: short")]
Fraction = Annotated[float, Meta(description="fraction of 1")]
Microseconds = Annotated[float, Meta(ge=0, description="microseconds")]
Milliseconds = Annotated[float, Meta(ge=0, description="milliseconds")]
Side = Literal["buy", "sell"]
