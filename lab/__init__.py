"""The whole Internet mail system on a laptop: real servers, real wires, real outages."""
