// Package join brings a node into its cluster and keeps clusters apart.
//
// It owns what a node knows of itself on disk ([State]: key, boot counter, name,
// cluster, last-known peers, promise), the rules by which links are admitted
// ([Policy]), and the loop that seeks a cluster, forms one where the
// configuration allows it, and answers those who seek ([Seeker]).
//
// Two rules carry everything else. A cluster identity is minted exactly once:
// by a node that nobody else can join, by the winner of one row in a shared
// database, or by the holder of enough promises, each of which is on disk and
// given to one former only. And a node that was told to join never forms: it
// waits, and says for whom.
//
// The package never judges whether a member is alive, opens no store and does
// not speak gossip; it is told of these through the functions in [Config].
package join
