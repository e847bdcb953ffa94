package main

import (
	"errors"
	"log/slog"
)

func newNode(settings, *slog.Logger) (node, error) {
	return nil, errors.New("package server is not wired yet")
}
