#!/bin/sh
# Prints COUNT quotes and as many trades of one INSTRUMENT, a hundred pairs a second, as KEY:VALUE lines for kcat -K: or
# Kafka's console producer. A hundred trades are bought, the next hundred sold, and so on: enough for the demo's baseline.
#   sh examples/made_up_ticks.sh [INSTRUMENT] [COUNT]
awk -v key="${1:-BTCUSDT.BINANCE}" -v count="${2:-600}" -v now="$(date +%s)" 'BEGIN {
  for (n = 0; n < count; n++) {
    time = sprintf("%d%09d", now + int(n / 100), n % 100 * 10000000)
    common = key ":{\"instrument\":\"" key "\",\"ts_recv\":" time ","
    print common "\"type\":\"Quote\",\"bid\":60000.00,\"bid_size\":2,\"ask\":60000.01,\"ask_size\":2}"
    print common "\"type\":\"Trade\",\"price\":60000.01,\"size\":0.1,\"aggressor\":\"" (n % 200 < 100 ? "buy" : "sell") "\"}"
    fflush()
    system("sleep 0.01")
  }
}'
