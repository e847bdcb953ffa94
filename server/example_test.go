package server_test

import (
	"context"
	"log"

	"github.com/musterhq/muster/auth"
	"github.com/musterhq/muster/server"
)

// A program becomes a member of a cluster that exists already.
func Example() {
	ctx := context.Background()

	cookies, err := auth.LoadCookies([]string{"cookie"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	node, err := server.New(server.Config{
		DataDir: "data", Bind: "127.0.0.1:9113", Cookies: cookies,
		JoinEndpoints: []string{"http://10.0.0.1:9113"},
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(node.Run(ctx)) // until ctx ends; then it leaves gracefully
}
