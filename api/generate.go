package api

//go:generate go run -C ../tools ./specjson ../openapi.yaml ../api
//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config types.yaml ../openapi.yaml
//go:generate go tool -modfile=../tools/go.mod oapi-codegen -config server/server.yaml ../openapi.yaml
