"""Tests of the front end. A package, so that the browser with its event loop is closed behind them."""
