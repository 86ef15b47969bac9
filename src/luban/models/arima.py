"""ARIMA with a season, its orders chosen stepwise by AICc (Hyndman and Khandakar 2008), by statsforecast's AutoARIMA."""

from __future__ import annotations

from luban.layers.classical import Classical


class Arima(Classical):
    called = "AutoARIMA"
