"""A Binance Spot server of our own: REST, market streams and the ws-api user stream on loopback.

To the platform it is *external*: it keeps its own books in its own file and shares nothing with it but
`app.domain`.
"""
