package main

import "fmt"

// reloadOnHangup lets a node read its files again at each SIGHUP, until the
// returned function is called.
func (a *app) reloadOnHangup(n node) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-a.hangups:
				if err := n.Reload(); err != nil {
					_, _ = fmt.Fprintln(a.stderr, "reload:", err)
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
