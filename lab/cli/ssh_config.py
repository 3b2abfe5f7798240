"""`lab ssh-config`: the seats, for the user's own ssh."""

from __future__ import annotations

import click


@click.command(short_help="The seats for your own ssh, scp, rsync and editors")
@click.pass_obj
def command(lab_name: str) -> None:
    """Print a configuration for OpenSSH in which every seat of the lab is a host.

    It stays good when the lab is taken down and put up again: have ~/.ssh/config include it. In a
    lab that is not called lab, the hosts are bob.NAME and so on.

    \b
    Example:
      lab ssh-config > lab.ssh
      ssh -F lab.ssh bob
      scp -F lab.ssh notes.txt bob@receiver-pc:
      rsync -e 'ssh -F lab.ssh' letters/ alice:letters/
    """
    from lab.engine.lab import Lab
    from lab.seats.keys import keys
    from lab.seats.openssh import configuration, store
    from lab.seats.seat import seats

    lab = Lab.attach(lab_name)
    store(lab.name, keys(lab))
    click.echo(configuration(lab.name, seats(lab.plan.topology)), nl=False)
