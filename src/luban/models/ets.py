"""Exponential smoothing in state-space form, error, trend and season chosen by AICc (Hyndman et al. 2002), by statsforecast's AutoETS."""

from __future__ import annotations

from luban.layers.classical import Classical


class Ets(Classical):
    called = "AutoETS"
