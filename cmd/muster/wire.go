package main

import (
	"errors"
	"log/slog"

	"github.com/musterhq/muster/auth"
)

func newNode(settings, *slog.Logger) (node, error) {
	return nil, errors.New("package server is not wired yet")
}

func connect(string, auth.Secret) (cluster, error) {
	return nil, errors.New("package client is not wired yet")
}
